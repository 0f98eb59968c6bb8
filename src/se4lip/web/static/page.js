// The live head: sound goes to the server, pictures come back and are shown when their sound is
// heard.
import { Meter } from "./meter.js";
import { Sound } from "./sound.js";

const page = Object.fromEntries([...document.querySelectorAll("[id]")].map((one) => [one.id, one]));
const pen = page.head.getContext("2d");
const meter = new Meter(page);
const sound = new Sound(send, () => { tell({ flush: true }); idle(); });
const HEADER_BYTES = 32, FRAME_MS = 40;
const LEAST_LATER_MS = 100, MOST_LATER_MS = 1000; // of played sound
const FROZEN_MS = 200; // a late picture is better than a head that stands still for so long

let socket = null, ready = false;
let waiting = []; // decoded pictures not shown yet
let behind = []; // how long after their sound pictures came, ms
let laterMs = 300; // by how much sound is played later, to be in step
let aloud = false;
let begun = 0; // how often sound was asked for
let shownAt = 0;

function say(sentence) { page.status.textContent = sentence; }
/** Whether `bytes` went off: sound before the server is ready counts for nothing. */
function send(bytes) {
  if (ready) socket.send(bytes);
  return ready;
}
function tell(message) { if (ready) socket.send(JSON.stringify(message)); }

/** Nothing can be said to a server that is not there yet; one that went may be called again. */
function usable(yes) {
  for (const control of [page.microphone, page.file, page.avatar]) control.disabled = !yes;
}

/** Pictures of another connection, and how late they were, are nothing to this one. */
function forget() {
  for (const one of waiting) one.bitmap.close();
  waiting = [];
  behind = [];
}

function connect() {
  socket?.close();
  ready = false;
  usable(false);
  forget();
  sound.reset();
  const scheme = location.protocol === "https:" ? "wss" : "ws";
  const mine = new WebSocket(`${scheme}://${location.host}/live`);
  mine.binaryType = "arraybuffer";
  socket = mine;
  let last = "the connection was lost";
  mine.onopen = () => {
    mine.send(JSON.stringify({ start: { avatar: page.avatar.value, rate: sound.rate } }));
  };
  mine.onmessage = ({ data }) => {
    if (mine !== socket) return;
    if (data instanceof ArrayBuffer) return picture(data, mine);
    const told = JSON.parse(data);
    if (told.refused) last = told.refused;
    if (told.ready) { ready = true; usable(true); if (!sound.source) say("ready"); }
  };
  mine.onclose = ({ reason }) => {
    if (mine !== socket) return;
    ready = false;
    usable(true);
    idle();
    say(reason || last);
  };
}

/** WebCodecs saves the way through a Blob, 4 to 11 ms (docs/live.md); not every browser has it. */
async function decoded(data) {
  const type = "image/jpeg";
  if (!window.ImageDecoder) return createImageBitmap(new Blob([data], { type }));
  const decoder = new ImageDecoder({ data, type });
  const { image } = await decoder.decode();
  decoder.close();
  return image;
}

async function picture(message, from) {
  const arrived = performance.now(), head = new DataView(message);
  const index = head.getUint32(0, true);
  if (from === socket) tell({ seen: index }); // the server sends what the way can hold
  const pushed = head.getFloat64(8, true), completedBy = head.getFloat64(16, true);
  meter.skipped = head.getUint32(4, true);
  const heard = pushed < 0 ? null : sound.heardAt(pushed);
  const sent = completedBy < 0 ? null : sound.sentAt(completedBy);
  let timing = null;
  if (heard !== null && sent !== null) {
    const encoding = head.getFloat32(24, true), held = head.getFloat32(28, true);
    timing = { heard, sent, arrived, encoding, held };
    behind.push(arrived - heard);
    if (behind.length > 75) behind.shift();
  }
  const bitmap = await decoded(new Uint8Array(message, HEADER_BYTES));
  if (from !== socket) return bitmap.close(); // another connection was made meanwhile
  waiting.push({ index, heard, timing, bitmap });
  if (waiting.length > 50) waiting.shift().bitmap.close(); // nobody looks: no pictures are shown
}

function show(now) {
  requestAnimationFrame(show);
  waiting.sort((a, b) => a.index - b.index);
  // Sound is the clock: a picture waits for its sound, and one whose sound is over is not shown.
  const due = (one) => one.heard === null || !aloud ? 0 : one.heard + laterMs + sound.outputLatency;
  let chosen = null;
  while (waiting.length && due(waiting[0]) <= now + FRAME_MS / 4) {
    if (chosen) { chosen.bitmap.close(); meter.late += 1; }
    chosen = waiting.shift();
  }
  if (!chosen) return;
  if (due(chosen) && now - due(chosen) > FRAME_MS && now - shownAt < FROZEN_MS) {
    chosen.bitmap.close();
    meter.late += 1;
    return;
  }
  shownAt = now;
  const width = chosen.bitmap.displayWidth ?? chosen.bitmap.width;
  const height = chosen.bitmap.displayHeight ?? chosen.bitmap.height;
  if (page.head.width !== width) [page.head.width, page.head.height] = [width, height];
  pen.drawImage(chosen.bitmap, 0, 0);
  chosen.bitmap.close();
  meter.add(performance.now(), chosen.timing);
}

/** Sound is played as late as nearly all pictures come. */
function keepStep() {
  if (behind.length >= 8) {
    const sorted = [...behind].sort((a, b) => a - b);
    const wanted = sorted[Math.floor(0.95 * sorted.length)] + FRAME_MS / 2 - sound.outputLatency;
    const bounded = Math.max(LEAST_LATER_MS, Math.min(MOST_LATER_MS, wanted));
    if (Math.abs(bounded - laterMs) > 15) laterMs = bounded;
  }
  sound.playLater(aloud, laterMs);
}

function busy(what) {
  page.stop.disabled = false;
  page.microphone.setAttribute("aria-pressed", String(what === "microphone"));
  say(what === "microphone" ? "listening" : `playing ${what}`);
  keepStep();
}

function idle() {
  sound.stop();
  page.stop.disabled = true;
  page.microphone.setAttribute("aria-pressed", "false");
  if (ready) say("ready");
}

async function begin(start, what) {
  if (socket.readyState > WebSocket.OPEN) connect();
  const mine = ++begun;
  try {
    if (await start()) busy(what);
  } catch (error) {
    if (mine !== begun) return; // what came after it goes on
    idle();
    say(`${what}: ${error.message}`);
  }
}

page.microphone.onclick = () => {
  if (page.microphone.getAttribute("aria-pressed") === "true") return page.stop.onclick();
  aloud = page.aloud.checked;
  begin(() => sound.microphone(), "microphone");
};
page.file.onchange = () => {
  play(page.file.files[0]);
  page.file.value = ""; // the same one may be chosen again
};
// Anywhere: beside the label, a browser would leave this page for the file.
document.ondragover = (event) => { event.preventDefault(); page.drop.classList.add("over"); };
document.ondragleave = () => page.drop.classList.remove("over");
document.ondrop = (event) => {
  event.preventDefault();
  page.drop.classList.remove("over");
  play(event.dataTransfer.files[0]);
};
page.aloud.onchange = () => { aloud = page.aloud.checked; keepStep(); };
page.stop.onclick = () => { idle(); tell({ interrupt: true }); };
page.avatar.onchange = connect;

function play(file) {
  if (!file || page.file.disabled) return;
  aloud = true;
  begin(() => sound.file(file), file.name);
}

/** The heads to choose from, and the first of them. */
async function list() {
  if (!window.isSecureContext)
    return say("browsers give sound only to pages of this machine or over https: open this one so");
  try {
    const answer = await fetch("avatars");
    if (!answer.ok) throw Error(`the server answered ${answer.status}`);
    page.avatar.append(...(await answer.json()).map((name) => new Option(name, name)));
  } catch (error) {
    return say(`the heads cannot be listed (${error.message}): reload this page`);
  }
  connect();
}

window.live = { meter, sound, laterMs: () => laterMs }; // for those who measure
setInterval(keepStep, 300);
requestAnimationFrame(show);
await list();
