"""What a run stands on: devices and precision, processes, progress and logs."""
