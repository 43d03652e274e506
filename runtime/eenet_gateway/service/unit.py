"""A systemd unit for a gateway, with limits and without rights that it does not need."""

from __future__ import annotations

from pathlib import Path
from typing import Final

from eenet_gateway.config.settings import Settings

_PARENT_MB: Final = 2000
"""For the process that receives and sends, beside the worker's."""

_UNIT: Final = """\
[Unit]
Description=EENet gateway: segmentations for a PACS (research, not for diagnosis)
After=network-online.target
Wants=network-online.target

[Service]
ExecStart={program} serve --config {config}
User={user}
Restart=always
RestartSec=5
TimeoutStopSec=90
KillMode=mixed
UMask=0077
LimitCORE=0
LimitNOFILE=4096
TasksMax=512
MemoryMax={memory_mb}M
OOMPolicy=continue

NoNewPrivileges=yes
ProtectSystem=strict
ReadWritePaths={data}
ProtectHome=read-only
PrivateTmp=yes
ProtectKernelTunables=yes
ProtectKernelModules=yes
ProtectKernelLogs=yes
ProtectControlGroups=yes
ProtectClock=yes
ProtectHostname=yes
RestrictAddressFamilies=AF_INET AF_INET6 AF_UNIX
RestrictNamespaces=yes
RestrictRealtime=yes
RestrictSUIDSGID=yes
LockPersonality=yes
SystemCallArchitectures=native
CapabilityBoundingSet=
AmbientCapabilities=

[Install]
WantedBy=multi-user.target
"""


def unit_text(settings: Settings, config: Path, program: Path, user: str) -> str:
    """The unit file of a gateway.

    Args:
        settings: its settings.
        config: where they stand.
        program: `eenet-gateway`.
        user: who it runs as; the data folder must be theirs.
    """
    return _UNIT.format(
        program=_escaped(program),
        config=_escaped(config.absolute()),
        data=_escaped(settings.data),
        user=user,
        memory_mb=settings.worker.replace_above_mb * 2 + _PARENT_MB,
    )


def _escaped(path: Path) -> str:
    """As systemd reads a word: `%` begins a specifier, and blanks part words."""
    text = str(path).replace("%", "%%")
    return f'"{text}"' if any(letter.isspace() for letter in text) else text
