# Everything a person does here is one word: `make help` prints them.
# Each target sets up what it needs, once; later calls start at once.
SHELL := /bin/bash
.SHELLFLAGS := -eu -o pipefail -c
.DEFAULT_GOAL := help
.DELETE_ON_ERROR:

PYTHON ?= python3
SERVE  := .venv
DEV    := .venv-dev
PEERS  := .venv-peers
export PYTHON

INSTALL := pyproject.toml requirements/build.txt scripts/venv.sh scripts/need.sh
# A module's tests stay in one process, for its servers; the slow folders come first by name.
PARALLEL := -n auto --dist loadfile --no-loadscope-reorder
COMPILE := $(DEV)/bin/uv pip compile --quiet --universal --python-version 3.11 --generate-hashes \
           --no-emit-index-url --no-header

.PHONY: help demo kafka up down needs-docker test faults soak check style types arrows format bundle servers lock upgrade clean

help:  ## print this list
	@awk -F ':.*## ' '/^[a-z%-]+:.*## / {printf "  make %-10s %s\n", $$1, $$2}' Makefile

demo: $(SERVE)/.ready  ## live forecasts on simulated ticks, until Ctrl-C (TICKS=20000 ends by itself, PORT=8080)
	@$(SERVE)/bin/slotcast demo $(if $(TICKS),--ticks $(TICKS)) $(if $(PORT),--port $(PORT))

kafka: $(SERVE)/.ready build/kafka/.ready  ## a Kafka and a Redis to try things with, without Docker, until Ctrl-C (KAFKA_PORT, REDIS_PORT)
	@scripts/need.sh redis-server=redis-server
	@$(if $(KAFKA_PORT),KAFKA_PORT=$(KAFKA_PORT)) $(if $(REDIS_PORT),REDIS_PORT=$(REDIS_PORT)) $(SERVE)/bin/python -m tests.try_servers

test: $(DEV)/.ready servers  ## all tests, with a real Kafka and a real Redis (ARGS="-k slots" to choose)
	@$(DEV)/bin/python -m compileall -q models service && $(DEV)/bin/slotcast warm >/dev/null  # else every process does
	@$(DEV)/bin/python -m pytest $(PARALLEL) $(ARGS)

faults: $(DEV)/.ready servers  ## every named fault under load, with a table (ARGS="-k redis" to choose)
	@$(DEV)/bin/python -m pytest tests/faults -m "" $(ARGS)

soak: $(DEV)/.ready servers  ## a worker under load for MINUTES=10, and the slope of its memory
	@MINUTES=$(or $(MINUTES),10) $(DEV)/bin/python -m pytest tests/faults/test_soak.py -m "" $(ARGS)

up: needs-docker  ## the whole stack in containers: broker, store, workers, producer, metrics, dashboards
	@docker compose up --detach --build --wait

down: needs-docker  ## stop the stack (ARGS=--volumes also deletes what it kept)
	@docker compose down $(ARGS)

needs-docker:
	@docker compose version >/dev/null 2>&1 || { echo "this needs Docker with Compose 2.24 or later, and \
	'docker compose version' fails: install it, or run without containers:  make demo" >&2; exit 1; }

check: style types arrows  ## style, types and the arrows between modules

style: $(DEV)/.ready
	@$(DEV)/bin/ruff check .
	@$(DEV)/bin/ruff format --check .

types: $(DEV)/.ready
	@$(DEV)/bin/mypy

arrows: $(DEV)/.ready
	@$(DEV)/bin/lint-imports --no-logo

format: $(DEV)/.ready  ## put the code into its canonical form
	@$(DEV)/bin/ruff check --fix --exit-zero .
	@$(DEV)/bin/ruff format .

bench-%: $(DEV)/.ready  ## one benchmark: benchmarks/NAME.py prints a table and writes build/bench/NAME.json
	@mkdir -p build/bench
	@PYTHONPATH=. $(DEV)/bin/python benchmarks/$(subst -,_,$*).py $(if $(ONLY),--only $(ONLY)) \
	    $(if $(SEEDS),--seeds $(SEEDS)) $(ARGS)

bundle: $(DEV)/.ready  ## train a network for unseen streams, on generated series (ARGS="--out DIR --data")
	@PYTHONPATH=. $(DEV)/bin/python -m benchmarks.pretrained $(ARGS)

# A peer that cannot be installed here is a line of the table, not an error.
bench-peers: $(DEV)/.ready servers  ## slotcast beside Bytewax, Quix Streams, Kafka Streams and plain Keras
	@$(MAKE) --no-print-directory --keep-going $(PEERS)/.ready build/peers/.ready || true
	@PYTHONPATH=. $(DEV)/bin/python -m benchmarks.peers.peers $(ARGS)

# Servers that are already there (KAFKA_BOOTSTRAP_SERVERS, REDIS_URL) need nothing here.
servers: $(if $(KAFKA_BOOTSTRAP_SERVERS),,build/kafka/.ready)  ## what the tests need to start Kafka, Redis, Prometheus and a browser
	@scripts/need.sh openssl=openssl chromium=chromium prometheus=prometheus promtool=prometheus $(if $(REDIS_URL),,redis-server=redis-server)

build/kafka/.ready: tests/kafka/pom.xml scripts/need.sh
	@scripts/need.sh java=default-jre-headless mvn=maven
	@echo "copying the jars of Apache Kafka to build/kafka/libs"
	@rm -rf build/kafka/libs
	@mvn --quiet --batch-mode --no-transfer-progress --file tests/kafka/pom.xml \
	    dependency:copy-dependencies -DincludeScope=runtime -DoutputDirectory=$(CURDIR)/build/kafka/libs
	@touch $@

$(SERVE)/.ready: requirements/serve.txt $(INSTALL)
	@scripts/venv.sh $(SERVE) $< 14
	@touch $@

build/peers/.ready: benchmarks/peers/streams/pom.xml scripts/need.sh
	@scripts/need.sh javac=default-jdk-headless mvn=maven
	@echo "copying the jars of Kafka Streams to build/peers/libs"
	@rm -rf build/peers
	@mvn --quiet --batch-mode --no-transfer-progress --file $< \
	    dependency:copy-dependencies -DincludeScope=runtime -DoutputDirectory=$(CURDIR)/build/peers/libs
	@touch $@

# TensorFlow, with which the tests build networks, has no wheels beyond 3.13.
$(DEV)/.ready: requirements/dev.txt $(INSTALL)
	@scripts/venv.sh $(DEV) $< 13
	@touch $@

# Bytewax has no wheels beyond 3.12.
$(PEERS)/.ready: requirements/peers.txt $(INSTALL)
	@scripts/venv.sh $(PEERS) $< 12
	@touch $@

lock: $(DEV)/.ready  ## write requirements/*.txt anew from pyproject.toml (`make upgrade`: with the newest versions)
	@$(COMPILE) $(UPGRADE) requirements/build.in -o requirements/build.txt
	@$(COMPILE) $(UPGRADE) pyproject.toml --extra train --extra librdkafka --extra avro --extra plots --extra dev \
	    -c requirements/constraints.in -c requirements/build.txt -o requirements/dev.txt
	@$(COMPILE) $(UPGRADE) pyproject.toml -c requirements/dev.txt -o requirements/serve.txt
	@$(COMPILE) $(UPGRADE) pyproject.toml --extra librdkafka --extra avro -c requirements/dev.txt \
	    -o requirements/image.txt
	@$(COMPILE) $(UPGRADE) requirements/peers.in -c requirements/constraints.in -c requirements/build.txt \
	    -o requirements/peers.txt

upgrade: UPGRADE := --upgrade
upgrade: lock  ## the same, with the newest versions that pyproject.toml allows

clean:  ## remove everything made here, but not what the demo remembers
	@rm -rf $(SERVE) $(DEV) $(PEERS) build dist .mypy_cache .ruff_cache .pytest_cache .hypothesis
	@find . -name __pycache__ -not -path './.git/*' -prune -exec rm -rf {} +
