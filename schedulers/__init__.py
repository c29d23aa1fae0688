"""The built-in schedulers, written exactly as a third party would write theirs."""
