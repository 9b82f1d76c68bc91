/** The routes of the service, from its own description; nothing is asked of other sites. */

/* global SwaggerUIBundle */

const place = document.querySelector("#docs");

SwaggerUIBundle({
  url: "openapi.json",
  dom_id: "#docs",
  deepLinking: false, // its links lie in buttons, where no keyboard finds its way
  validatorUrl: null,
  displayRequestDuration: true,
  defaultModelsExpandDepth: 0,
});

const LEVELS = { "h2.title": 1, "h3.opblock-tag": 2, ".models > h4": 2, ".opblock h4": 3, ".opblock h5": 4 };
const REGIONS = { ".information-container": "About", ".schemes-server-container": "Server" };

/** Swagger UI has fields without names, headings that begin in the middle, and text in no region: mend that. */
function mend() {
  for (const field of place.querySelectorAll("select, input, textarea")) {
    const row = field.closest("tr");
    const name = row?.dataset.paramName ?? row?.cells[0]?.textContent;
    field.ariaLabel ??= field.id === "servers" ? "Server" : name || field.title || "Kind of content";
  }
  for (const [which, level] of Object.entries(LEVELS))
    for (const heading of place.querySelectorAll(which)) heading.ariaLevel = String(level);
  for (const [which, name] of Object.entries(REGIONS))
    for (const region of place.querySelectorAll(which)) [region.role, region.ariaLabel] = ["region", name];
}

new MutationObserver(mend).observe(place, { childList: true, subtree: true });
