// The canvas that is drawn on, in the colors of the network's data. `element`, `props`
// and `trigger` are Gradio's. Strokes are kept, so that each can be undone.
const canvas = element.querySelector("canvas");
const width = element.querySelector("input");
const [undo, clear] = element.querySelectorAll("button");
const pen = canvas.getContext("2d");
const { ground, ink } = canvas.dataset;
const strokes = [];
let current = null;

function paint(stroke) {
  pen.strokeStyle = ink;
  pen.lineCap = pen.lineJoin = "round";
  pen.lineWidth = stroke.width;
  pen.beginPath();
  pen.moveTo(...stroke.points[0]);
  // A point alone is a dot.
  for (const point of stroke.points) pen.lineTo(...point);
  pen.stroke();
}

function repaint() {
  pen.fillStyle = ground;
  pen.fillRect(0, 0, canvas.width, canvas.height);
  strokes.forEach(paint);
  undo.disabled = clear.disabled = !strokes.length;
}

function send() {
  repaint();
  props.value = strokes.length ? canvas.toDataURL("image/png") : "";
  trigger("input");
}

function place(event) {
  const box = canvas.getBoundingClientRect();
  return [
    ((event.clientX - box.left) * canvas.width) / box.width,
    ((event.clientY - box.top) * canvas.height) / box.height,
  ];
}

canvas.addEventListener("pointerdown", (event) => {
  if (current || event.button) return;
  canvas.setPointerCapture(event.pointerId);
  current = { id: event.pointerId, width: Number(width.value), points: [place(event)] };
  strokes.push(current);
  repaint();
});
canvas.addEventListener("pointermove", (event) => {
  if (!current || event.pointerId !== current.id) return;
  current.points.push(place(event));
  repaint();
});
for (const name of ["pointerup", "pointercancel"]) {
  canvas.addEventListener(name, (event) => {
    if (!current || event.pointerId !== current.id) return;
    current = null;
    send();
  });
}
undo.addEventListener("click", () => {
  strokes.pop();
  send();
});
clear.addEventListener("click", () => {
  strokes.length = 0;
  send();
});
repaint();
