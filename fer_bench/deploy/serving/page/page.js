"use strict";
// Everything that comes from data is set as text, never as markup.
const byId = (id) => document.getElementById(id);
const video = byId("video"), status = byId("status"), found = byId("found");
const COLOURS = ["#ffd60a", "#34c759", "#5ac8fa", "#ff9f0a", "#ff6482", "#bf5af2"];
const LONGEST = 1600; // pixels of the longer side of what is sent: faces are small
const SHOWN = 800; // of what is shown: many photos take much memory
const WEBCAM = 640, TRIES = 4;
let card = null, stream = null, newest = 0;

const choose = () => byId("file").click();
const wait = (seconds) => new Promise((done) => setTimeout(done, 1000 * seconds));

function say(text, isWrong = false) {
  status.textContent = text;
  status.className = isWrong ? "wrong" : "";
}

function percent(share) { return `${Math.round(100 * share)}\u00a0%`; }

function element(name, text = "", className = "") {
  const made = document.createElement(name);
  made.textContent = text;
  made.className = className;
  return made;
}

async function load() {
  try {
    card = await (await fetch("/model")).json();
  } catch {
    say("The server does not answer.", true);
    return;
  }
  const test = card.scores.test;
  byId("model").textContent =
    `${card.model} / ${card.strategy}, trained on ${card.data.name}: right on ${percent(test.accuracy)} of ` +
    `${test.n_images.toLocaleString("en")} test images, macro-F1 ${test.macro_f1.toFixed(2)}.` +
    (card.data.people_unknown ? " Whether people were seen in training is unknown." : "");
}

function still(source, width, height, longest, canvas = document.createElement("canvas")) {
  const scale = Math.min(1, longest / Math.max(width, height));
  canvas.width = Math.max(1, Math.round(width * scale)); // which clears it
  canvas.height = Math.max(1, Math.round(height * scale));
  canvas.getContext("2d").drawImage(source, 0, 0, canvas.width, canvas.height);
  return canvas;
}

async function ask(image, name) {
  const form = new FormData();
  form.append("images", await new Promise((done) => image.toBlob(done, "image/jpeg", 0.92)), name);
  for (let tries = 1; ; tries++) {
    const response = await fetch(`/predict?faces=${byId("faces").checked}`, { method: "POST", body: form });
    const body = await response.json();
    if (response.ok) return body.images[0].faces;
    if (response.status !== 503 || tries === TRIES) throw new Error(body.error.message);
    await wait(Number(response.headers.get("Retry-After")));
  }
}

function draw(canvas, image, faces) {
  const scale = Math.min(1, SHOWN / Math.max(image.width, image.height)), pen = canvas.getContext("2d");
  still(image, image.width, image.height, SHOWN, canvas);
  faces.forEach((face, at) => { if (face.box) box(pen, face, at, scale); });
}

function box(pen, face, at, scale) {
  const [left, top, width, height] = ["left", "top", "width", "height"].map((name) => scale * face.box[name]);
  pen.lineWidth = 3;
  pen.strokeStyle = COLOURS[at % COLOURS.length];
  pen.strokeRect(left, top, width, height);
  const size = Math.max(12, Math.min(width / 6, 28)), text = `${at + 1} ${face.expression}`;
  pen.font = `600 ${size}px system-ui, sans-serif`;
  pen.fillStyle = pen.strokeStyle;
  pen.fillRect(left, Math.max(0, top - 1.4 * size), pen.measureText(text).width + size, 1.4 * size);
  pen.fillStyle = "#000";
  pen.fillText(text, left + size / 2, Math.max(1.05 * size, top - 0.35 * size));
}

function doubt(face) {
  const own = face.probabilities[face.expression];
  const known = card && card.scores.test.per_class.find((one) => one.name === face.expression);
  const sure = own >= 0.8 ? "quite sure" : own >= 0.5 ? "not very sure" : "unsure";
  const notes = [element("p", `The model is ${sure}: ${percent(own)}, calibrated on validation images.`, "note")];
  if (known) {
    notes.push(element("p",
      `On test images it is right ${percent(known.precision)} of the times it says “${known.name}”, and finds ` +
      `${percent(known.recall)} of the ${known.support} that show it.`, "note"));
  }
  return notes;
}

function answer(face, at) {
  const item = element("li"), table = element("table");
  item.append(element("h3", `${face.box ? `Face ${at + 1}: ` : ""}${face.expression}`));
  const ranked = Object.entries(face.probabilities).sort((one, other) => other[1] - one[1]);
  for (const [name, share] of ranked) {
    const line = element("tr"), middle = element("td"), meter = element("meter"), head = element("th", name);
    head.scope = "row";
    meter.value = share;
    meter.setAttribute("aria-label", `${name}: ${percent(share)}`);
    middle.append(meter);
    line.append(head, middle, element("td", percent(share)));
    table.append(line);
  }
  item.append(table, ...doubt(face));
  return item;
}

function place(name) {
  const article = element("article"), canvas = element("canvas"), answers = element("ol");
  canvas.setAttribute("role", "img");
  canvas.setAttribute("aria-label", name);
  article.append(element("h2", name), canvas, answers);
  found.append(article);
  return (image, faces) => { // with its boxes at once, or those of the webcam would flicker
    draw(canvas, image, faces);
    answers.replaceChildren(...faces.map(answer));
    if (!faces.length) answers.append(element("li", "No face found. A face that fills the image needs no looking for."));
  };
}

function count(n) { return `${n} ${n === 1 ? "face" : "faces"}`; }

async function photos(files) {
  if (!files.length) return;
  stop();
  const turn = newest;
  let n = 0;
  for (const file of files) {
    say(`${file.name} …`);
    try {
      const bitmap = await createImageBitmap(file).catch(() => { throw new Error("not a picture that this browser reads"); });
      const image = still(bitmap, bitmap.width, bitmap.height, LONGEST), faces = await ask(image, file.name);
      if (turn !== newest) return;
      place(file.name)(image, faces);
      n += faces.length;
    } catch (problem) {
      if (turn !== newest) return;
      found.append(element("p", `${file.name}: ${problem.message}`, "wrong"));
    }
  }
  say(count(n) + (files.length > 1 ? ` in ${files.length} photos` : ""));
}

function stop() {
  newest++;
  found.replaceChildren();
  if (stream) stream.getTracks().forEach((track) => track.stop());
  stream = null;
  byId("camera").textContent = "Webcam on";
  byId("camera").setAttribute("aria-pressed", "false");
}

async function webcam() {
  const wasOn = stream;
  stop(); // photos that are still being asked about are not waited for
  say("");
  if (wasOn) return;
  const wanted = newest;
  try {
    const opened = await navigator.mediaDevices.getUserMedia({ video: { width: WEBCAM } });
    if (wanted !== newest) { opened.getTracks().forEach((track) => track.stop()); return; }
    stream = opened;
  } catch (problem) {
    say(`No webcam: ${problem.message}`, true);
    return;
  }
  byId("camera").textContent = "Webcam off";
  byId("camera").setAttribute("aria-pressed", "true");
  video.srcObject = stream;
  await video.play();
  const turn = newest, show = place("Webcam");
  while (stream && turn === newest) {
    const image = still(video, video.videoWidth, video.videoHeight, WEBCAM);
    try {
      const faces = await ask(image, "webcam");
      if (turn !== newest) return;
      show(image, faces);
      say(count(faces.length));
    } catch (problem) {
      if (turn === newest) say(problem.message, true);
      await wait(1);
    }
    await new Promise(requestAnimationFrame);
  }
}

const drop = byId("drop");
byId("choose").addEventListener("click", choose);
drop.addEventListener("click", choose);
drop.addEventListener("keydown", (event) => { if (event.key === "Enter" || event.key === " ") { event.preventDefault(); choose(); } });
byId("file").addEventListener("change", (event) => { photos([...event.target.files]); event.target.value = ""; });
byId("camera").addEventListener("click", webcam);
for (const name of ["dragover", "dragenter"]) drop.addEventListener(name, (event) => { event.preventDefault(); drop.classList.add("over"); });
drop.addEventListener("dragleave", () => drop.classList.remove("over"));
drop.addEventListener("drop", (event) => { event.preventDefault(); drop.classList.remove("over"); photos([...event.dataTransfer.files]); });
load();
