"""The turning panorama of the page, as a document of its own."""

from __future__ import annotations

import base64
from pathlib import Path

_PAGE = """<!doctype html>
<html lang="en"><meta charset="utf-8"><title>Turning panorama</title>
<style>
  html, body { margin: 0; height: 100%; background: #111; }
  #strip { height: 100%; background: url("SOURCE") 50% 50% / auto 100% repeat-x; cursor: grab;
    touch-action: pan-y; outline-offset: -3px; }
</style>
<div id="strip" role="application" tabindex="0"
  aria-label="Panorama; drag or use the arrow keys to turn"></div>
<script>
  const strip = document.getElementById("strip"), still = matchMedia("(prefers-reduced-motion)");
  let at = 0, turning = !still.matches, from = null;
  const show = () => { strip.style.backgroundPositionX = `calc(50% + ${at}px)`; };
  const turn = () => { if (turning) { at -= 0.4; show(); } requestAnimationFrame(turn); };
  strip.onpointerdown = event => {
    turning = false; from = event.clientX - at; strip.setPointerCapture(event.pointerId); };
  strip.onpointermove = event => { if (from !== null) { at = event.clientX - from; show(); } };
  strip.onpointerup = () => { from = null; };
  strip.onkeydown = event => {
    const step = { ArrowLeft: 40, ArrowRight: -40 }[event.key];
    if (step) { turning = false; at += step; show(); event.preventDefault(); } };
  turn();
</script></html>"""


def viewer_page(panorama: Path) -> str:
    """Make a page to look around in a panorama, which it holds itself.

    Args:
        panorama: its JPEG, as `write_photo_spheres` writes it.
    """
    content = base64.b64encode(panorama.read_bytes()).decode()
    return _PAGE.replace("SOURCE", f"data:image/jpeg;base64,{content}")
