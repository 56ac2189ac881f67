// Draws every figure from the JSON beside it; a point's formula also shows below its figure, where
// a phone has room for it.

// Plotly labels a logarithmic axis with too many numbers or, where told how, too few after a zoom.
function spaceTicks(place) {
  const axis = place.layout.yaxis;
  if (axis.type !== "log" || !axis.range) return;
  const decades = axis.range[1] - axis.range[0];
  const step = decades > 2.5 ? Math.ceil(decades / 9) : decades > 0.8 ? "D2" : null;
  if ((axis.dtick ?? null) !== step) Plotly.relayout(place, { "yaxis.dtick": step });
}

const touch = matchMedia("(pointer: coarse)").matches;
for (const place of document.querySelectorAll(".figure")) {
  const plot = JSON.parse(document.getElementById(place.dataset.json).textContent);
  // Dragging on a phone scrolls the page, not the figure.
  if (touch) plot.layout.dragmode = false;
  const config = {
    responsive: true,
    displaylogo: false,
    displayModeBar: touch ? false : "hover",
    // Named one by one, so that no button sends a figure anywhere.
    modeBarButtons: [["toImage", "zoom2d", "pan2d", "zoomIn2d", "zoomOut2d", "resetScale2d"]],
    plotlyServerURL: "",
  };
  Plotly.newPlot(place, plot.data, plot.layout, config).then(spaceTicks);
  place.on("plotly_relayout", () => spaceTicks(place));
  const touched = place.parentElement.querySelector(".touched");
  if (!touched) continue;
  const show = (event) => {
    const card = event.points[0].customdata;
    if (!Array.isArray(card)) return;
    const formula = document.createElement("code");
    formula.textContent = card[0];
    touched.replaceChildren(formula, card[1]);
  };
  place.on("plotly_hover", show);
  place.on("plotly_click", show);
}
