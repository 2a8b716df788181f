"""What is shown on a terminal while work goes on."""
