"""Running a sweep: its parent, its workers, each run's process."""
