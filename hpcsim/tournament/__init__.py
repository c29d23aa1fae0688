"""Many runs, compared: cells of scenario, window, scheduler, seed and load, and what they say of the schedulers."""
