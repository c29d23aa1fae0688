"""The machine: nodes and where jobs lie on them, power, heat, failures, and the rules of its queues."""
