"""Jobs and where they come from: ALCF and SWF traces, synthetic profiles."""
