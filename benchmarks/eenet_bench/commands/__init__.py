"""What the command line needs besides: options that several commands share. Nothing here measures."""
