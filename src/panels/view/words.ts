/** Texts of the panels, through the lab's translation when there is one. */

/** The part of the lab's TranslationBundle that panels use. */
export interface Words {
  __(text: string, ...values: unknown[]): string;
}

/** English as written, `%1` … replaced: for pages outside the lab. */
export const plainWords: Words = {
  __: (text, ...values) =>
    text.replace(/%(\d)/g, (whole, digit: string) => String(values[Number(digit) - 1] ?? whole))
};
