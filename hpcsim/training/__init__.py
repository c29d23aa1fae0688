"""How schedulers that learn are trained: episodes in this simulator, what they are paid, and the course of it all."""
