"""What a run leaves behind: tables, metrics, plots, and the directory that holds them."""
