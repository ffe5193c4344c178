// What Gradio's components lack: sliders that fill from their middle and say what they do, a picture that is compared
// while a button is held, a camera and a clipboard that can be left, keyboard shortcuts, and saving.
() => {
  const find = (selector, root = document) => root.querySelector(selector);
  const all = (selector, root = document) => [...root.querySelectorAll(selector)];
  const say = (text) => { const place = find('#message'); place.textContent = text; place.hidden = !text; };
  const click = (id) => find(`#${id}`)?.click();

  // ---------------------------------------------------------------------------------------------- saving
  const save = (url) => {
    if (!url) return;
    const link = document.createElement('a');
    link.href = url;
    link.download = decodeURIComponent(url.match(/;name=([^;,]+)/)?.[1] ?? 'edited');
    document.body.append(link); link.click(); link.remove();
  };
  const copyLink = async (query) => {
    const url = new URL(location.href);
    url.search = query;
    const photo = new URLSearchParams(query).has('seed') ? '' : ' It holds the slider values alone, never a photo.';
    try {
      await navigator.clipboard.writeText(url.href);
      say(`The link is copied.${photo}`);
    } catch { say(`Copy this link: ${url.href}${photo}`); }
  };

  // --------------------------------------------------------------------------------------- a slider in motion
  // Pictures come past Gradio's events (see live.py): one request at a time, the newest values after it.
  let key = '', asking = false, again = false, moves = 0, settling = 0, gradios = '', shown = '';
  const pictureInSight = () => all('#stage #picture img:not(.held), #stage #swipe img:not(.held)').filter((each) => each.offsetParent).at(-1);
  const follow = (given) => { key = given; };
  const move = async () => {
    moves += 1;
    if (!key || asking) { again = Boolean(key); return; }
    const picture = pictureInSight();
    if (!picture) return;
    if (picture.src !== shown) gradios = picture.src;
    asking = true; again = false;
    try {
      const sliders = Object.fromEntries(all('#sliders input[type=range]').map(
        (range) => [range.closest('[id^=slider-]').id.slice(7), Number(range.value)]));
      const view = find('#view input:checked').value, detail = find('#detail input')?.checked ?? true;
      const url = new URL(`live/${key}`, `${window.gradio_config.root}/`);
      const answer = await fetch(url, {method: 'POST', body: JSON.stringify({sliders, view, detail})});
      const blob = answer.status === 200 ? await answer.blob() : null;
      if (blob && [gradios, shown].includes(picture.src)) {  // otherwise Gradio has shown something newer
        URL.revokeObjectURL(shown);
        shown = picture.src = URL.createObjectURL(blob);
      }
    } catch { /* the server is gone, which Gradio tells */ }
    asking = false;
    if (again) move();
  };
  const settled = () => {  // Gradio leaves a picture as it is that it takes to be there already
    const picture = pictureInSight();
    if (picture?.src === shown && moves === settling) picture.src = gradios;
  };
  window.lelsd = {save, copyLink, say, follow, settled};
  Promise.resolve(pictureInSight()?.decode()).catch(() => {}).then(() => find('#splash')?.remove());

  // ------------------------------------------------------------------------------ one picture over the other
  const before = find('#before');
  const hold = (on) => {
    const shown = all('#stage #picture, #stage #swipe').find((each) => each.offsetParent);
    find('.held', shown ?? document)?.remove();
    before.setAttribute('aria-pressed', on);
    const start = find('#start-picture img');
    if (!on || !shown || !start) return;
    const picture = find('img', shown).getBoundingClientRect(), frame = shown.getBoundingClientRect();
    const over = document.createElement('img');
    over.className = 'held'; over.src = start.src; over.alt = 'The picture before the edit';
    Object.assign(over.style, {left: `${picture.left - frame.left}px`, top: `${picture.top - frame.top}px`,
      width: `${picture.width}px`, height: `${picture.height}px`});
    shown.append(over);
  };
  if (before) {
    before.title = 'Hold to see the picture before the edit';
    before.addEventListener('pointerdown', () => hold(true));
    for (const end of ['pointerup', 'pointerleave', 'pointercancel', 'blur']) before.addEventListener(end, () => hold(false));
    before.addEventListener('keydown', (event) => { if ([' ', 'Enter'].includes(event.key)) { event.preventDefault(); hold(true); } });
    before.addEventListener('keyup', () => hold(false));
  }

  // the divider of "Swipe" is one more slider, which Gradio moves by the mouse alone
  const dressDivider = () => {
    const divider = find('#swipe [data-testid=slider]'), after = find('#swipe img.fixed');
    if (!divider || !after) return;
    const facts = {tabindex: 0, role: 'slider', 'aria-label': 'Divider between before and after', 'aria-valuemin': 0,
      'aria-valuemax': 100, 'aria-valuenow': Math.round(parseFloat(after.style.clipPath.split(' ').at(-1))) || 0};
    for (const [name, value] of Object.entries(facts)) if (divider.getAttribute(name) !== `${value}`) divider.setAttribute(name, value);
    all('#swipe img').forEach((image, i) => { image.alt ||= ['Before the edit', 'After the edit'][i]; });
  };
  document.addEventListener('keydown', (event) => {
    const divider = event.target.closest?.('#swipe [data-testid=slider]');
    const part = {ArrowLeft: -0.05, ArrowRight: 0.05, Home: -1, End: 1}[event.key];
    if (!divider || !part) return;
    event.preventDefault();
    const frame = find('#swipe img').getBoundingClientRect(), box = divider.getBoundingClientRect();
    const x = box.left + box.width / 2, to = Math.min(Math.max(x + part * frame.width, frame.left + 1), frame.right - 1);
    for (const [kind, target, at] of [['mousedown', divider, x], ['mousemove', window, to], ['mouseup', window, to]])
      target.dispatchEvent(new MouseEvent(kind, {bubbles: true, cancelable: true, view: window, clientX: at, clientY: box.top + 9}));
    setTimeout(dressDivider, 50);
  });

  // ------------------------------------------------------------------------------------- a region that is painted
  const layer = Object.assign(document.createElement('canvas'), {id: 'paint', width: 128, height: 128, tabIndex: 0});
  layer.setAttribute('role', 'application');
  layer.setAttribute('aria-label', 'Paint: arrows move the brush, Space paints');
  const pen = layer.getContext('2d'), ring = document.createElement('span');
  ring.id = 'brush-ring';
  let at = [64, 64], drawing = false, erasing = false;
  const brush = () => Number(find('#brush')?.value ?? 9);
  const sendMask = () => {
    const box = find('#mask textarea, #mask input');
    if (!box) return;
    const empty = !pen.getImageData(0, 0, 128, 128).data.some((each, i) => i % 4 === 3 && each > 127);
    box.value = empty ? '' : layer.toDataURL('image/png');
    box.dispatchEvent(new Event('input', {bubbles: true}));
  };
  window.lelsd.clearPaint = () => pen.clearRect(0, 0, 128, 128);
  const placeLayer = () => {
    const picture = find('#canvas img');
    if (!picture) return;
    const frame = picture.parentElement;
    if (layer.parentElement !== frame) { frame.style.position = 'relative'; frame.append(layer, ring); }
    if (layer.dataset.face !== picture.src) { layer.dataset.face = picture.src; window.lelsd.clearPaint(); }
    const place = {left: picture.offsetLeft, top: picture.offsetTop, width: picture.offsetWidth, height: picture.offsetHeight};
    for (const [name, value] of Object.entries(place)) layer.style[name] = `${value}px`;
    const scale = place.width / 128, size = 2 * brush() * scale;
    Object.assign(ring.style, {left: `${place.left + at[0] * scale - size / 2}px`, top: `${place.top + at[1] * scale - size / 2}px`,
      width: `${size}px`, height: `${size}px`});
  };
  const dab = (to) => {
    pen.globalCompositeOperation = erasing ? 'destination-out' : 'source-over';
    pen.strokeStyle = pen.fillStyle = '#7c3aed'; pen.lineWidth = 2 * brush(); pen.lineCap = pen.lineJoin = 'round';
    pen.beginPath(); pen.moveTo(...at); pen.lineTo(...to); pen.stroke();
    pen.beginPath(); pen.arc(...to, brush(), 0, 2 * Math.PI); pen.fill();  // a line to itself is not drawn
    at = to;
  };
  const pointed = (event) => [event.offsetX, event.offsetY].map((each, i) => 128 * each / [layer.offsetWidth, layer.offsetHeight][i]);
  layer.addEventListener('pointerdown', (event) => {
    layer.setPointerCapture(event.pointerId);
    drawing = true; at = pointed(event); dab(at); placeLayer();
  });
  layer.addEventListener('pointermove', (event) => { if (drawing) dab(pointed(event)); else at = pointed(event); placeLayer(); });
  layer.addEventListener('pointerup', () => { drawing = false; sendMask(); });
  layer.addEventListener('keydown', (event) => {
    const step = {ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1]}[event.key];
    if (step) at = at.map((each, i) => Math.min(Math.max(each + step[i] * brush() / 2, 0), 128));
    else if (event.key === ' ') { dab(at); sendMask(); } else return;
    event.preventDefault(); placeLayer();
  });
  document.addEventListener('click', ({target}) => {
    if (target.id === 'clear-paint') { window.lelsd.clearPaint(); sendMask(); }
    if (target.id !== 'erase') return;
    erasing = !erasing;
    target.setAttribute('aria-pressed', erasing);
  });

  // ---------------------------------------------------------------------------------------------- sliders
  const dressSlider = (range) => {
    const block = range.closest('.block'), name = find('[data-testid="block-info"]', block)?.textContent.trim() ?? '';
    const [low, high] = (find('.info-text', block)?.textContent ?? '').trim().split(/\s+/u);
    const value = Number(range.value), box = find('input[type=number]', block), reset = find('button', block);
    const place = (of) => 100 * (of - range.min) / (range.max - range.min), at = place(value), still = place(0);
    range.style.setProperty('--from', `${Math.min(at, still)}%`);
    range.style.setProperty('--to', `${Math.max(at, still)}%`);
    const word = value ? `${Math.abs(value)} percent ${value > 0 ? high : low}` : 'as it was';
    if (range.getAttribute('aria-valuetext') !== word) range.setAttribute('aria-valuetext', word);
    if (box && box.tabIndex !== -1) box.tabIndex = -1;
    if (reset && reset.getAttribute('aria-label') !== `Reset ${name}`) {
      reset.tabIndex = -1; reset.setAttribute('aria-label', `Reset ${name}`); reset.title = `Reset ${name}`;
    }
  };
  const nameButtons = (id, name) => all(`#${id} button.thumbnail-item, #${id} .grid-container button`).forEach((button, i) => {
    const text = `${name} ${i + 1}: ${find('.caption-label', button)?.textContent.trim() ?? ''}`.replace(/: $/, '');
    if (button.getAttribute('aria-label') !== text) button.setAttribute('aria-label', text);
  });
  const dress = () => {
    all('#sliders input[type=range]').forEach(dressSlider);
    for (const [id, name] of [['examples', 'Example'], ['cards', 'Part'], ['recipes', 'Look'], ['ends', 'End'],
      ['past', 'Step'], ['row', 'Random face'], ['faces', 'Face']]) nameButtons(id, name);
    placeLayer();
    dressDivider();
    all('.empty[aria-label]:not([role])').forEach((place) => place.setAttribute('role', 'img'));
    all('.prose pre:not([tabindex])').forEach((text) => { text.tabIndex = 0; });
    for (const id of ['meter', 'note', 'status']) find(`#${id}`)?.setAttribute('aria-live', 'polite');
  };
  let planned = 0;
  new MutationObserver(() => { planned ||= setTimeout(() => { planned = 0; dress(); }, 100); }).observe(
    document.body, {childList: true, subtree: true, attributes: true, attributeFilter: ['style', 'value']});
  dress();
  document.addEventListener('input', ({target}) => {
    if (target.matches('#sliders input[type=range]')) { move(); dressSlider(target); }
    else if (target.matches('#sliders input[type=number]')) setTimeout(move, 30);  // until Gradio has moved the slider
  });

  // a slider that comes to rest, by pointer, keyboard, number box or its reset button, is settled once
  let rest = 0;
  const settle = (event) => {
    if (!event.target.closest?.('#sliders')) return;
    clearTimeout(rest);
    rest = setTimeout(() => { settling = moves; click('settle'); }, 350);
  };
  for (const kind of ['input', 'click', 'change']) document.addEventListener(kind, settle, true);
  document.addEventListener('focusout', ({target}) => {  // what is used is shown, whatever was typed
    if (!target.matches?.('#sliders input[type=number]')) return;
    const least = Number(target.min || -100), most = Number(target.max || 100);
    const used = Math.min(Math.max(target.value === '' ? 0 : Number(target.value), least), most);
    if (target.value !== String(used)) {
      target.value = used;
      target.dispatchEvent(new Event('input', {bubbles: true}));
    }
  }, true);
  document.addEventListener('dblclick', ({target}) => {
    const block = target.closest?.('#sliders .block');
    if (block && !target.matches('input, button')) find('button', block)?.click();
  });
  document.addEventListener('keydown', (event) => {
    if (!(event.ctrlKey || event.metaKey) || event.key.toLowerCase() !== 'z' || event.target.matches('input[type=text], textarea')) return;
    event.preventDefault();
    click(event.shiftKey ? 'redo' : 'undo');
  });

  // ------------------------------------------------------------------------- photos from the clipboard and a camera
  const give = (file, tries = 20) => {
    const input = find('#upload input[type=file]');
    if (!input) {  // a photo is there already: it is cleared, and the input comes back
      find('#upload button[aria-label*="lear"], #upload button[aria-label*="emove"]')?.click();
      if (tries) setTimeout(() => give(file, tries - 1), 200);
      return;
    }
    const files = new DataTransfer();
    files.items.add(file);
    input.files = files.files;
    input.dispatchEvent(new Event('change', {bubbles: true}));
  };
  document.addEventListener('paste', (event) => {
    const file = [...(event.clipboardData?.files ?? [])].find((each) => each.type.startsWith('image/'));
    if (file) { event.preventDefault(); give(file); }
    else if (!event.target.matches?.('input, textarea')) say('There is no picture in the clipboard; copy one first.');
  });
  const refuse = (event) => {
    const file = event.dataTransfer?.files?.[0] ?? event.target.files?.[0];
    if (!event.target.closest?.('#upload') || !file || !file.type || file.type.startsWith('image/')) return say('');
    event.preventDefault(); event.stopImmediatePropagation();
    say(`${file.name} is not a picture; use a JPEG, PNG, WebP, HEIC, BMP or TIFF.`);
  };
  for (const kind of ['drop', 'change']) document.addEventListener(kind, refuse, true);
  find('#camera')?.addEventListener('click', async () => {
    let stream;
    try { stream = await navigator.mediaDevices.getUserMedia({video: {width: 1280, height: 960}}); }
    catch { return say('The camera cannot be used. Allow it beside the page’s address, or upload a photo.'); }
    const dialog = document.createElement('dialog');
    dialog.id = 'camera-view';
    dialog.innerHTML = '<video autoplay playsinline muted></video><p><button class="take">Take it</button> <button class="leave">Cancel</button></p>';
    document.body.append(dialog);
    const video = find('video', dialog);
    video.srcObject = stream;
    dialog.addEventListener('close', () => { stream.getTracks().forEach((track) => track.stop()); dialog.remove(); });
    find('.leave', dialog).onclick = () => dialog.close();
    find('.take', dialog).onclick = () => {
      const canvas = Object.assign(document.createElement('canvas'), {width: video.videoWidth, height: video.videoHeight});
      canvas.getContext('2d').drawImage(video, 0, 0);
      canvas.toBlob((blob) => { give(new File([blob], 'camera.jpg', {type: 'image/jpeg'})); dialog.close(); }, 'image/jpeg', 0.95);
    };
    dialog.showModal();
  });
}
