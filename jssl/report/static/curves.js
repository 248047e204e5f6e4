// Values under the pointer, or at the arrow keys' place, of each chart.
function watchChart(svg, runs) {
  const [left, right, top, bottom] = [46, 310, 8, 146];  // of the plot, as curves.py draws it
  const [low, high] = svg.dataset.x.split(' ').map(Number);
  const [least, most] = svg.dataset.y.split(' ').map(Number);
  const across = step => left + (step - low) / (high - low) * (right - left);
  const down = value => top + (most - value) / (most - least) * (bottom - top);
  const marks = makeSvg('g', { class: 'marks' });
  svg.append(marks);
  const longest = runs.reduce((a, b) => (b[2].length > a[2].length ? b : a))[2];
  let place = longest.length - 1;

  const nearest = (steps, step) => steps.reduce((best, x, i) => (Math.abs(x - step) < Math.abs(steps[best] - step) ? i : best), 0);

  function show(step) {
    marks.replaceChildren(makeSvg('line', { x1: across(step), x2: across(step), y1: top, y2: bottom }));
    const lines = runs.map(([name, colour, steps, values]) => {
      const i = nearest(steps, step);
      if (Number.isFinite(values[i])) {
        marks.append(makeSvg('circle', { cx: across(steps[i]), cy: down(values[i]), r: 3.5, class: `run${colour % 8}` }));
      }
      const value = values[i] === null ? 'not finite' : digits(values[i]);
      return make('div', {}, runs.length > 1 ? `${name}: ${value}` : value, steps[i] === step ? '' : ` (step ${steps[i]})`);
    });
    const [x, y] = placeOf(svg, across(step), top + 30);
    tip.show(x, y, make('div', { class: 'soft' }, `step ${step}`), ...lines);
  }
  const leave = () => { marks.replaceChildren(); tip.hide(); };

  svg.addEventListener('pointermove', event => {
    const [x] = placeIn(svg, event);
    place = nearest(longest, low + (x - left) / (right - left) * (high - low));
    show(longest[place]);
  });
  svg.addEventListener('pointerleave', leave);
  svg.addEventListener('blur', leave);
  svg.addEventListener('keydown', event => {
    const step = { ArrowLeft: -1, ArrowRight: 1 }[event.key];
    if (!step) return;
    event.preventDefault();
    place = Math.min(Math.max(place + step, 0), longest.length - 1);
    show(longest[place]);
  });
}

const curvesData = readData('curves-data');
if (curvesData) document.querySelectorAll('.chart svg').forEach((svg, i) => watchChart(svg, curvesData[i]));
