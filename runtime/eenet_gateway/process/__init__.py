"""What concerns processes: log lines without patient data, fault points, children with limits that die with us."""
