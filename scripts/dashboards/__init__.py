"""The Grafana dashboards of deploy/grafana/dashboards, as code.

`python -m scripts.dashboards` writes them anew. What one dashboard shows is in `service.py`,
`forecasts.py` and `instruments.py`; how a panel looks is in `panels.py`.
"""
