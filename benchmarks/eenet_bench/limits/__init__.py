"""Where the time goes and how far from the machine's limits: `stages`, `scaling`, `roofline`, `folder`."""
