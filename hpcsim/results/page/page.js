"use strict";
// Everything in its place; what cannot be shown says why, and the rest of the page stands.

async function showAll() {
  const data = JSON.parse(document.getElementById("data").textContent);
  const [run] = data.runs;
  const alone = data.runs.length === 1;
  for (const id of alone ? ["differences"] : ["jobs"]) document.getElementById(id).remove();
  showHead(data);
  const parts = [
    ["summary", showSummary], ["differences", showDifferences], ["figures", showFigures], ["scenario", showScenario], ["provenance", showProvenance], ["cite", showCitations],
    ["energy", showEnergy], ["timelines", showTimelines], ["waits", showWaits], ["jobs", (section) => showJobs(section, run)],
  ];
  for (const [id, show] of parts) {
    const section = document.getElementById(id);
    if (!section) continue;
    try {
      await show(section, data);
    } catch (error) {
      section.append(element("p", { class: "note trouble", role: "alert" }, error.message));
      console.error(error);
    }
  }
  document.documentElement.dataset.ready = "yes";
}

matchMedia("(prefers-color-scheme: dark)").addEventListener("change", drawAllAnew);
new ResizeObserver(fitAll).observe(document.querySelector("main"));
for (const [event, onPaper] of [["beforeprint", true], ["afterprint", false]])
  addEventListener(event, () => {
    document.documentElement.classList.toggle("paper", onPaper);
    fitAll();
    drawAllAnew();
  });
showAll();
