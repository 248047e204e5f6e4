const byId = name => document.getElementById(name);

// The value of a data block of the page, or null.
const readData = name => byId(name) ? JSON.parse(byId(name).textContent) : null;

// An element with attributes and children; text is never read as HTML.
function make(tag, attributes = {}, ...children) {
  const found = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) found.setAttribute(name, value);
  found.append(...children);
  return found;
}

function makeSvg(tag, attributes) {
  const found = document.createElementNS('http://www.w3.org/2000/svg', tag);
  for (const [name, value] of Object.entries(attributes)) found.setAttribute(name, value);
  return found;
}

// A few significant digits.
const digits = value => Number.isFinite(value) ? String(Number(value.toPrecision(4))) : 'not finite';

// The one tooltip of the page, within the window whatever it is beside.
const tip = {
  show(left, top, ...content) {
    const box = byId('tip');
    box.replaceChildren(...content);
    box.hidden = false;
    const { width, height } = box.getBoundingClientRect();
    const x = Math.min(Math.max(4, left + 14), document.documentElement.clientWidth - width - 4);
    const y = top + height + 18 > window.innerHeight ? top - height - 12 : top + 14;
    box.style.transform = `translate(${x}px, ${Math.max(4, y)}px)`;
  },
  hide() { byId('tip').hidden = true; },
};
document.addEventListener('keydown', event => { if (event.key === 'Escape') tip.hide(); });

// A pointer's place in the units of an SVG's viewBox.
function placeIn(svg, event) {
  const box = svg.getBoundingClientRect();
  const { width, height } = svg.viewBox.baseVal;
  return [(event.clientX - box.left) / box.width * width, (event.clientY - box.top) / box.height * height];
}

// Where a place of an SVG's viewBox is in the window.
function placeOf(svg, x, y) {
  const box = svg.getBoundingClientRect();
  const { width, height } = svg.viewBox.baseVal;
  return [box.left + x / width * box.width, box.top + y / height * box.height];
}
