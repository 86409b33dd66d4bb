// Puts the parts where the page's plain tables stand.

const PARTS = { ranking: buildRanking, grid: buildGrid, time: buildTime, strategies: buildStrategies, classes: buildClasses, slices: buildSlices, gallery: buildGallery };

document.body.append(dialog, html("div", { id: "picked", hidden: true, role: "status" }));
if (hasClean) {
  document.getElementById("subset").replaceChildren(segments("Scored on", [["test", "all test images"], ["clean", "test-clean"]], "test", chooseSubset));
}
followSubset(() => {
  document.querySelectorAll("[data-figures-of]").forEach((place) => { place.textContent = page.subset === "clean" ? "test-clean" : "all test images"; });
  document.querySelectorAll("[data-figure]").forEach((place) => {
    const row = rows.find((one) => one.row === place.dataset.of);
    place.textContent = show(valueOf(row, place.dataset.figure), columnOf[place.dataset.figure].kind);
  });
});
for (const [name, build] of Object.entries(PARTS)) {
  const place = document.querySelector(`[data-part="${name}"]`);
  if (place && (rows.length || name === "gallery")) build(place);
}
document.querySelectorAll("[data-open]").forEach((cell) => {
  const at = rows.findIndex((row) => row.row === cell.dataset.open);
  if (at >= 0) cell.replaceChildren(rowButton(at, ...cell.childNodes));
});
document.documentElement.dataset.ready = "yes";
performance.mark("ready");
