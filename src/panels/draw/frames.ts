/**
 * One drawing a frame at most, and none that nobody sees: asks the browser for a frame when
 * something changed, waits while the page or the element is hidden, and draws once when it shows
 * again.
 */
export class Frames {
  readonly #draw: () => void;
  readonly #observer: IntersectionObserver;
  #asked = 0;
  #wanted = false;
  #visible = true;
  #closed = false;

  constructor(element: Element, draw: () => void) {
    this.#draw = draw;
    this.#observer = new IntersectionObserver(entries => {
      this.#visible = entries.at(-1)?.isIntersecting ?? true;
      this.#ask();
    });
    this.#observer.observe(element);
    document.addEventListener('visibilitychange', this.#ask);
  }

  /** Something changed: draw at the next frame. */
  request(): void {
    this.#wanted = true;
    this.#ask();
  }

  close(): void {
    this.#closed = true;
    this.#observer.disconnect();
    document.removeEventListener('visibilitychange', this.#ask);
    cancelAnimationFrame(this.#asked);
  }

  readonly #ask = (): void => {
    if (!this.#wanted || this.#asked !== 0 || this.#closed) return;
    if (!this.#visible || document.hidden) return;
    this.#asked = requestAnimationFrame(() => {
      this.#asked = 0;
      this.#wanted = false;
      if (!this.#closed) this.#draw();
    });
  };
}
