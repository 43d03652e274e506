"""Signals of each material in the four contrasts, drawn anew for each case from a look's ranges.

Only what holds in every patient is kept: white matter brighter than fluid in T1, gadolinium brightens what has no
barrier, fluid is bright in T2 and dark in FLAIR. The rest varies.
"""

from __future__ import annotations

import numpy as np

from eenet_runtime.volumes.labels import Modality
from eenet_train.phantom.transfer.looks import Look
from eenet_train.phantom.transfer.scene import Material

Signals = dict[Material, float]


def draw_signals(rng: np.random.Generator, look: Look) -> dict[Modality, Signals]:
    """Signals by modality; normal white matter is 1 in each."""
    t1 = _t1(rng, look)
    # T1 after gadolinium is often another sequence than T1 before.
    plain = _t1(rng, look) if rng.random() < 0.35 else t1
    t2 = _t2(rng, look)
    return {
        Modality.T1: t1,
        Modality.T1CE: _t1ce(rng, look, plain),
        Modality.T2: t2,
        Modality.FLAIR: _flair(rng, look),
    }


def _between(start: float, end: float, share: float) -> float:
    return start + (end - start) * share


def _outside(rng: np.random.Generator, look: Look) -> Signals:
    # Fat saturation makes fat as dark as bone.
    saturated = rng.random() < 0.3
    bone = look.draw(rng, "outside.bone")
    return {Material.FAT: bone * 1.3 if saturated else look.draw(rng, "outside.fat"), Material.BONE: bone}


def _t1(rng: np.random.Generator, look: Look) -> Signals:
    grey = look.draw(rng, "t1.grey")
    fluid = grey * look.draw(rng, "t1.fluid")
    vessel = look.draw(rng, "t1.vessel")
    return {
        Material.WHITE: 1.0,
        Material.GREY: grey,
        Material.FLUID: fluid,
        Material.OEDEMA: max(_between(1.0, grey, look.draw(rng, "t1.oedema")), fluid),
        Material.SOLID: grey * look.draw(rng, "t1.solid"),
        Material.CYST: _between(fluid, grey, look.draw(rng, "t1.cyst")),
        Material.NECROSIS: _between(fluid, grey, look.draw(rng, "t1.necrosis")),
        Material.ENHANCING: grey * look.draw(rng, "t1.enhancing"),
        Material.BLOOD: look.draw(rng, "t1.blood"),
        Material.CALCIFICATION: float(rng.uniform(0.4, 1.3)),
        Material.LESION: _between(1.0, grey, look.draw(rng, "t1.lesion")),
        Material.LACUNE: _between(fluid, grey, float(rng.uniform(0.0, 0.4))),
        Material.IRON: float(rng.uniform(0.4, 0.95)),
        Material.SINUS: vessel * float(rng.uniform(0.7, 1.2)),
        Material.ARTERY: vessel,
        Material.DURA: grey * float(rng.uniform(0.5, 1.1)),
        Material.PLEXUS: grey * float(rng.uniform(0.7, 1.05)),
        Material.PITUITARY: grey * float(rng.uniform(0.8, 1.4)),
        Material.PULSATION: fluid,
        **_outside(rng, look),
    }


def _t1ce(rng: np.random.Generator, look: Look, plain: Signals) -> Signals:
    # A session of its own: every tissue a few per cent off.
    signals = {material: value * float(np.exp(rng.normal(0.0, 0.04))) for material, value in plain.items()}
    signals[Material.WHITE] = 1.0
    grey, dose = signals[Material.GREY], float(rng.uniform(0.75, 1.15))
    brightest = {
        Material.ENHANCING: look.draw(rng, "t1ce.enhancing"),
        Material.SINUS: look.draw(rng, "t1ce.vessel"),
        Material.ARTERY: look.draw(rng, "t1ce.vessel"),
        Material.DURA: look.draw(rng, "t1ce.dura"),
        Material.PLEXUS: look.draw(rng, "t1ce.plexus"),
        Material.PITUITARY: look.draw(rng, "t1ce.vessel"),
    }
    for material, value in brightest.items():
        signals[material] = max(value * dose, 1.1 * signals[material])
    # Tumour that is called enhancing stands out from grey matter, however little.
    signals[Material.ENHANCING] = max(signals[Material.ENHANCING], 1.3 * grey, 1.4 * signals[Material.SOLID])
    return signals


def _t2(rng: np.random.Generator, look: Look) -> Signals:
    grey = look.draw(rng, "t2.grey")
    fluid = grey * look.draw(rng, "t2.fluid")
    oedema = _between(grey, fluid, look.draw(rng, "t2.oedema"))
    vessel = look.draw(rng, "t2.vessel")
    return {
        Material.WHITE: 1.0,
        Material.GREY: grey,
        Material.FLUID: fluid,
        Material.OEDEMA: oedema,
        Material.SOLID: _between(grey, fluid, look.draw(rng, "t2.solid")),
        Material.CYST: fluid * look.draw(rng, "t2.cyst"),
        Material.NECROSIS: _between(grey, fluid, look.draw(rng, "t2.necrosis")),
        Material.ENHANCING: _between(grey, fluid, look.draw(rng, "t2.enhancing")),
        Material.BLOOD: look.draw(rng, "t2.blood"),
        Material.CALCIFICATION: float(rng.uniform(0.2, 0.8)),
        Material.LESION: _between(1.0, oedema, look.draw(rng, "t2.lesion")),
        Material.LACUNE: fluid * float(rng.uniform(0.8, 1.0)),
        Material.IRON: float(rng.uniform(0.1, 0.5)),
        Material.SINUS: vessel,
        Material.ARTERY: float(rng.uniform(0.2, 0.9)),
        Material.DURA: float(rng.uniform(0.2, 0.9)),
        Material.PLEXUS: _between(grey, fluid, float(rng.uniform(0.0, 0.9))),
        Material.PITUITARY: grey * float(rng.uniform(0.7, 1.2)),
        Material.PULSATION: fluid * float(rng.uniform(0.5, 1.0)),
        **_outside(rng, look),
    }


def _flair(rng: np.random.Generator, look: Look) -> Signals:
    grey = look.draw(rng, "flair.grey")
    fluid = look.draw(rng, "flair.fluid")
    oedema = grey * look.draw(rng, "flair.oedema")
    mismatch = rng.random() < 0.2
    solid = (
        grey * look.draw(rng, "flair.mismatch") if mismatch else _between(1.0, oedema, look.draw(rng, "flair.solid"))
    )
    return {
        Material.WHITE: 1.0,
        Material.GREY: grey,
        Material.FLUID: fluid,
        Material.OEDEMA: oedema,
        Material.SOLID: solid,
        Material.CYST: min(_between(fluid, grey, look.draw(rng, "flair.cyst")), 0.85 * solid),
        Material.NECROSIS: _between(fluid, oedema, look.draw(rng, "flair.necrosis")),
        Material.ENHANCING: grey * look.draw(rng, "flair.enhancing"),
        Material.BLOOD: look.draw(rng, "flair.blood"),
        Material.CALCIFICATION: float(rng.uniform(0.2, 1.0)),
        Material.LESION: _between(1.0, oedema, look.draw(rng, "flair.lesion")),
        Material.LACUNE: _between(fluid, grey, float(rng.uniform(0.0, 0.5))),
        Material.IRON: float(rng.uniform(0.2, 0.7)),
        Material.SINUS: look.draw(rng, "flair.vessel"),
        Material.ARTERY: float(rng.uniform(0.2, 1.0)),
        Material.DURA: float(rng.uniform(0.3, 1.3)),
        Material.PLEXUS: grey * float(rng.uniform(0.6, 1.5)),
        Material.PITUITARY: grey * float(rng.uniform(0.8, 1.3)),
        Material.PULSATION: grey * float(rng.uniform(0.8, 1.7)),
        **_outside(rng, look),
    }
