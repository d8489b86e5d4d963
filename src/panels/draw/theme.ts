/**
 * Colours of a canvas, read from the CSS variables of the element it stands in, so that a drawing
 * follows the lab's theme. Read again when the theme changes, never once a frame.
 */

export interface Theme {
  text: string;
  muted: string;
  grid: string;
  background: string;
  /** Behind the bars of a lane: idle. */
  idle: string;
  accent: string;
  /** Around a bar of a failed task. */
  edge: string;
  dark: boolean;
  font: string;
}

/** Reads the theme where an element stands. */
export function readTheme(element: Element): Theme {
  const style = getComputedStyle(element);
  const value = (name: string, fallback: string): string => {
    const found = style.getPropertyValue(name).trim();
    return found === '' ? fallback : found;
  };
  const background = value('--tl-background', '#ffffff');
  const dark = luminance(background) < 0.4;
  return {
    text: value('--tl-text', dark ? '#e0e0e0' : '#212121'),
    muted: value('--tl-muted', dark ? '#9e9e9e' : '#666666'),
    grid: value('--tl-line', dark ? '#424242' : '#e0e0e0'),
    background,
    idle: value('--tl-idle', dark ? '#2b2b2b' : '#efefef'),
    accent: value('--tl-accent', '#1976d2'),
    edge: dark ? '#ffffff' : '#000000',
    dark,
    font: value('--tl-font', 'system-ui, sans-serif')
  };
}

/** Rough brightness of `#rgb`, `#rrggbb` or `rgb(…)`, 0-1; white when it cannot be read. */
export function luminance(colour: string): number {
  const channels = channelsOf(colour);
  if (channels === null) return 1;
  const [red, green, blue] = channels;
  return (0.299 * red + 0.587 * green + 0.114 * blue) / 255;
}

function channelsOf(colour: string): [number, number, number] | null {
  const hex = /^#([0-9a-f]{3}|[0-9a-f]{6})$/i.exec(colour)?.[1];
  if (hex !== undefined) {
    const wide = hex.length === 3 ? [...hex].map(digit => digit + digit).join('') : hex;
    const number = Number.parseInt(wide, 16);
    return [number >> 16, (number >> 8) & 255, number & 255];
  }
  const parts = /^rgba?\(\s*([\d.]+)[\s,]+([\d.]+)[\s,]+([\d.]+)/.exec(colour);
  if (parts === null) return null;
  return [Number(parts[1]), Number(parts[2]), Number(parts[3])];
}

/** Calls back when the colours of the page may have changed. Returns how to stop. */
export function onThemeChange(callback: () => void): () => void {
  const observer = new MutationObserver(callback);
  // The lab marks the theme on <body> after it has loaded the theme's style sheet.
  observer.observe(document.body, {
    attributes: true,
    attributeFilter: ['data-jp-theme-name', 'data-jp-theme-light', 'class']
  });
  const media = matchMedia('(prefers-color-scheme: dark)');
  media.addEventListener('change', callback);
  return () => {
    observer.disconnect();
    media.removeEventListener('change', callback);
  };
}
