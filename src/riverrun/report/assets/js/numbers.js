// Numbers as people read them.

const UNITS = [[1e15, "P"], [1e12, "T"], [1e9, "B"], [1e6, "M"], [1e3, "k"]];

function short(value, digits = 3) {
  if (value == null) return "–";
  for (const [size, unit] of UNITS) {
    if (Math.abs(value) >= size * 0.9995) return `${Number((value / size).toPrecision(digits))}${unit}`;
  }
  return String(Number(value.toPrecision(digits)));
}

const tokensText = (tokens) => short(tokens);
const lossText = (loss) => (loss == null ? "–" : loss.toFixed(4));
const lossTick = (loss) => String(Number(loss.toFixed(4)));
const bitsText = (bits) => (bits == null ? "–" : bits.toFixed(3));
const gainText = (gain) => (gain == null ? "–" : `${gain < 0 ? "−" : "+"}${Math.abs(gain).toFixed(4)}`);
const countText = (count) => (count == null ? "–" : count.toLocaleString("en"));

function rateText(value) {
  if (value == null) return "–";
  return value !== 0 && Math.abs(value) < 1e-3 ? value.toExponential(2) : String(Number(value.toPrecision(3)));
}

function bytesText(bytes) {
  const units = ["B", "kB", "MB", "GB", "TB"];
  let power = 0;
  while (bytes >= 1000 && power < units.length - 1) {
    bytes /= 1000;
    power += 1;
  }
  return `${Number(bytes.toPrecision(3))} ${units[power]}`;
}
