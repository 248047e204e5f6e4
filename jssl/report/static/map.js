// A test image under the pointer, or at the arrow keys' place, of each map; it is marked in every map.
function watchMaps(data, svgs) {
  const points = svgs.map(svg => [...svg.querySelectorAll('circle')].map(c => [c.cx.baseVal.value, c.cy.baseVal.value]));
  const marks = svgs.map(svg => {
    const mark = makeSvg('circle', { class: 'mark', r: 6, cx: -99, cy: -99 });
    svg.append(mark);
    return mark;
  });
  let place = -1;

  function show(svg, number) {
    place = number;
    marks.forEach((mark, i) => {
      mark.setAttribute('cx', points[i][number][0]);
      mark.setAttribute('cy', points[i][number][1]);
    });
    const picture = make('div', { class: 'thumbnail' });
    const [column, row] = [number % data.columns, Math.floor(number / data.columns)];
    picture.style.backgroundImage = `url(${data.sheet})`;
    picture.style.backgroundSize = `${data.columns * 100}% ${data.rows * 100}%`;
    const share = (x, count) => (count > 1 ? x / (count - 1) * 100 : 0);
    picture.style.backgroundPosition = `${share(column, data.columns)}% ${share(row, data.rows)}%`;
    const words = data.labels.length ? `class ${data.labels[number]}` : `image ${number + 1}`;
    tip.show(...placeOf(svg, ...points[svgs.indexOf(svg)][number]), picture, make('div', {}, words));
  }
  function leave() {
    marks.forEach(mark => { mark.setAttribute('cx', -99); });
    tip.hide();
  }

  svgs.forEach((svg, i) => {
    svg.addEventListener('pointermove', event => {
      const [x, y] = placeIn(svg, event);
      const distance = ([a, b]) => (a - x) ** 2 + (b - y) ** 2;
      const best = points[i].reduce((found, point, j) => (distance(point) < distance(points[i][found]) ? j : found), 0);
      if (distance(points[i][best]) < 144) show(svg, best);
      else leave();
    });
    svg.addEventListener('pointerleave', leave);
    svg.addEventListener('blur', leave);
    svg.addEventListener('keydown', event => {
      const step = { ArrowLeft: -1, ArrowRight: 1 }[event.key];
      if (!step) return;
      event.preventDefault();
      show(svg, (place + step + points[i].length) % points[i].length);
    });
  });
}

const mapData = readData('map-data');
if (mapData) watchMaps(mapData, [...document.querySelectorAll('.map svg')]);
