"""What the benchmark measures: one workload written for several libraries, each in a process of its own."""
