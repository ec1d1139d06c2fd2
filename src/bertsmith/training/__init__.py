"""Training: one trainer for every task, its optimizer, schedule and logs. Knows `Task`, never a task."""
