"use strict";
function element(name, text) {
  const made = document.createElement(name);
  made.textContent = text;
  return made;
}

function parameters(operation) {
  return (operation.parameters ?? []).map((one) => `${one.name}: ${one.schema.type}, ${one.schema.default} without`);
}

async function load() {
  for (const place of document.querySelectorAll(".origin")) place.textContent = location.origin;
  const api = await (await fetch("/openapi.json")).json(), list = document.getElementById("operations");
  for (const [path, methods] of Object.entries(api.paths)) {
    for (const [method, operation] of Object.entries(methods)) {
      list.append(element("dt", `${method.toUpperCase()} ${path}`), element("dd", operation.description ?? operation.summary));
      for (const line of parameters(operation)) list.append(element("dd", `?${line}`));
      const kinds = Object.keys(operation.requestBody?.content ?? {});
      if (kinds.length) list.append(element("dd", `takes ${kinds.join(" or ")}`));
      for (const [status, answer] of Object.entries(operation.responses)) list.append(element("dd", `${status}: ${answer.description}`));
    }
  }
}

load();
