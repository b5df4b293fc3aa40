"""The programs of the benchmark: workloads in several libraries, each program in its own process."""
