"""Where ticks come from: files, topics, the simulated market; and producers of tick topics."""
