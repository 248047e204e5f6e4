// Click a patch: the cosine of its features with those of every patch of every picture, for the model that is chosen.
class Similarity {
  constructor(data, root) {
    Object.assign(this, { data, root, model: 0, scaling: 0 });
    const [image, top, left] = data.start;
    this.click = { image, top, left };
    for (const model of data.models) model.unit = this.directions(model);
    this.tiles = data.images.map((address, number) => this.makeTile(address, number));
    this.readout = make('p', { class: 'readout', 'aria-live': 'polite', id: 'similarity-readout' });
    this.scale = make('span', { class: 'scale' });
    this.low = make('span');
    this.high = make('span');
    root.append(
      make('div', { class: 'controls' },
        this.choice('features', data.models.map(model => model.name), i => { this.model = i; this.draw(); }),
        this.choice('colours', ['of each picture', 'of all pictures', '−1 to 1'], i => { this.scaling = i; this.draw(); }),
        make('div', { class: 'key' }, this.low, this.scale, this.high)),
      this.readout,
      make('div', { class: 'tiles' }, ...this.tiles.map(tile => tile.box)));
    this.scale.style.background = `linear-gradient(to right, ${data.colours.map(c => `rgb(${c})`).join(',')})`;
  }

  // Features in bytes as vectors of length 1: [image][patch] is a Float32Array.
  directions(model) {
    const bytes = Uint8Array.from(atob(model.data), c => c.charCodeAt(0));
    const values = new Int8Array(bytes.buffer);
    const patches = model.grid[0] * model.grid[1];
    return this.data.images.map((_, image) => Array.from({ length: patches }, (_, patch) => {
      const start = (image * patches + patch) * model.dim;
      const vector = Float32Array.from(values.subarray(start, start + model.dim));
      const length = Math.hypot(...vector) || 1;
      return vector.map(x => x / length);
    }));
  }

  choice(title, names, chosen) {
    const labels = names.map((name, i) => {
      const input = make('input', { type: 'radio', name: `similarity-${title.replaceAll(' ', '-')}`, value: String(i) });
      input.checked = i === 0;
      input.addEventListener('change', () => chosen(i));
      return make('label', {}, input, make('span', {}, name));
    });
    return make('fieldset', { class: 'choice' }, make('legend', {}, title), ...labels);
  }

  makeTile(address, number) {
    const picture = make('canvas', { width: 256, height: 256, 'aria-hidden': 'true' });
    const map = make('canvas', { width: 256, height: 256, 'aria-hidden': 'true' });
    const range = make('span', { class: 'note' });
    const box = make('div', {
      class: 'tile', tabindex: '0', role: 'application', 'data-image': String(number),
      'aria-label': `picture ${number + 1}: arrow keys move the clicked patch`, 'aria-describedby': 'similarity-readout',
    }, picture, map, make('span'), range);
    const image = new Image();
    const tile = { box, picture, map, range, image, number };
    image.addEventListener('load', () => {
      const tall = Math.round(256 * image.naturalHeight / image.naturalWidth);
      picture.height = map.height = tall;
      this.draw();
    });
    image.src = address;
    for (const canvas of [picture, map]) {
      const press = event => this.point(number, canvas, event);
      canvas.addEventListener('click', press);
      canvas.addEventListener('pointermove', event => {
        if (event.buttons && event.pointerType === 'mouse') press(event);
        else this.hover(number, canvas, event);
      });
      canvas.addEventListener('pointerleave', () => tip.hide());
    }
    box.addEventListener('keydown', event => this.key(number, event));
    return tile;
  }

  place(canvas, event) {
    const box = canvas.getBoundingClientRect();
    const within = x => Math.min(Math.max(x, 0), 0.9999);
    return { top: within((event.clientY - box.top) / box.height), left: within((event.clientX - box.left) / box.width) };
  }

  point(image, canvas, event) {
    this.click = { image, ...this.place(canvas, event) };
    this.draw();
  }

  hover(image, canvas, event) {
    const { top, left } = this.place(canvas, event);
    const [row, column] = this.cell(top, left);
    const grid = this.data.models[this.model].grid;
    tip.show(event.clientX, event.clientY, `similarity ${this.maps[image][row * grid[1] + column].toFixed(2)}`);
  }

  key(image, event) {
    const move = { ArrowUp: [-1, 0], ArrowDown: [1, 0], ArrowLeft: [0, -1], ArrowRight: [0, 1], Enter: [0, 0], ' ': [0, 0] }[event.key];
    if (!move) return;
    event.preventDefault();
    const grid = this.data.models[this.model].grid;
    const from = this.click.image === image ? this.click : { top: 0.5, left: 0.5 };
    const [row, column] = this.cell(from.top, from.left).map((x, i) => Math.min(Math.max(x + move[i], 0), grid[i] - 1));
    this.click = { image, top: (row + 0.5) / grid[0], left: (column + 0.5) / grid[1] };
    this.draw();
  }

  // Row and column of the patch at a place.
  cell(top, left) {
    const [rows, columns] = this.data.models[this.model].grid;
    return [Math.min(Math.floor(top * rows), rows - 1), Math.min(Math.floor(left * columns), columns - 1)];
  }

  colour(value, low, high) {
    const colours = this.data.colours;
    const place = Math.min(Math.max((value - low) / (high - low || 1), 0), 1) * (colours.length - 1);
    const i = Math.min(Math.floor(place), colours.length - 2);
    return colours[i].map((c, k) => Math.round(c + (colours[i + 1][k] - c) * (place - i)));
  }

  draw() {
    const { grid, unit, name } = this.data.models[this.model];
    const [row, column] = this.cell(this.click.top, this.click.left);
    const number = row * grid[1] + column;
    const query = unit[this.click.image][number];
    this.maps = unit.map(patches => patches.map(vector => vector.reduce((sum, x, i) => sum + x * query[i], 0)));
    const all = this.maps.flat();
    const limits = this.scaling === 1 ? [Math.min(...all), Math.max(...all)] : [-1, 1];
    [this.low.textContent, this.high.textContent] = this.scaling ? limits.map(x => x.toFixed(2)) : ['least', 'most similar'];
    for (const tile of this.tiles) {
      const own = [Math.min(...this.maps[tile.number]), Math.max(...this.maps[tile.number])];
      this.drawTile(tile, grid, this.scaling ? limits : own, tile.number === this.click.image ? [row, column] : null);
      tile.range.textContent = `from ${own[0].toFixed(2)} to ${own[1].toFixed(2)}`;
    }
    const own = this.maps[this.click.image];
    const others = this.maps.filter((_, i) => i !== this.click.image).flat();
    const mean = values => values.reduce((a, b) => a + b, 0) / values.length;
    const rest = others.length ? `, to other pictures ${mean(others).toFixed(2)} on average` : '';
    this.readout.textContent = `${name}: picture ${this.click.image + 1}, row ${row + 1}, column ${column + 1}. Similarity to ` +
      `itself ${own[number].toFixed(2)}, to its picture ${mean(own).toFixed(2)}${rest}.`;
  }

  drawTile(tile, grid, [low, high], mark) {
    const paper = document.createElement('canvas');
    [paper.height, paper.width] = grid;
    const pixels = new ImageData(grid[1], grid[0]);
    this.maps[tile.number].forEach((value, i) => pixels.data.set([...this.colour(value, low, high), 255], 4 * i));
    paper.getContext('2d').putImageData(pixels, 0, 0);
    for (const [canvas, content] of [[tile.picture, tile.image], [tile.map, paper]]) {
      const context = canvas.getContext('2d');
      context.imageSmoothingEnabled = canvas === tile.picture && tile.image.naturalWidth > 96;
      if (content === paper || tile.image.complete) context.drawImage(content, 0, 0, canvas.width, canvas.height);
      if (mark) this.outline(context, canvas, grid, mark);
    }
    tile.box.classList.toggle('clicked', Boolean(mark));
  }

  outline(context, canvas, grid, [row, column]) {
    const [height, width] = [canvas.height / grid[0], canvas.width / grid[1]];
    for (const [colour, thick, out] of [['#000', 6, 2], ['#fff', 3, 2]]) {
      context.strokeStyle = colour;
      context.lineWidth = thick;
      context.strokeRect(column * width - out, row * height - out, width + 2 * out, height + 2 * out);
    }
  }
}

const similarityData = readData('similarity-data');
if (similarityData) {
  const root = byId('similarity-maps');
  root.hidden = false;
  document.querySelectorAll('.still').forEach(still => { still.hidden = true; });
  new Similarity(similarityData, root).draw();
}
