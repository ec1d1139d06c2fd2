// How numbers are written, the same everywhere in the page.

const whole = new Intl.NumberFormat("en");

export const count = (number) => whole.format(number);

/** "1 token", "2 tokens". */
export const counted = (number, one, many = `${one}s`) => `${count(number)} ${number === 1 ? one : many}`;

/** A probability: "93.1%", and never 0% or 100% of what is neither. */
export function percent(share) {
  if (share > 0 && share < 0.001) return "< 0.1%";
  if (share < 1 && share > 0.999) return "> 99.9%";
  return `${(100 * share).toFixed(1)}%`;
}

/** A similarity or a score, to two or three digits. */
export const decimal = (number, digits = 2) => number.toFixed(digits).replace("-", "\u2212");

/** A score that may be for or against: "+0.42", "−0.10". */
export const signed = (number, digits = 2) => (number > 0 ? "+" : "") + decimal(number, digits);

export function milliseconds(number) {
  return number < 1000 ? `${number.toFixed(number < 10 ? 1 : 0)} ms` : `${(number / 1000).toFixed(1)} s`;
}
