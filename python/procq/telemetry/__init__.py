"""What procq measures and tells others of itself: numbers, traces, logs. Nothing of it runs while nobody asks."""
