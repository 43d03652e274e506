"""How figures are shown: tables, HTML, charts. Nothing here computes one."""
