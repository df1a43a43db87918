// Round numbers for an axis.

// At most about `count` round numbers from first to last: of one distance, or 1, 2, 5, 10, ... on a logarithmic axis.
function ticksBetween(first, last, log, count) {
  if (!(last > first) || !(count >= 1)) return [];
  const decades = Math.log10(last / first);
  if (!log || decades < 1) return evenTicks(first, last, count);
  const digits = [[1, 2, 5], [1, 3], [1]].find((some) => decades * some.length <= count) ?? [1];
  const every = Math.max(1, Math.ceil((decades * digits.length) / count));
  const found = [];
  for (let power = Math.floor(Math.log10(first)); power <= Math.log10(last); power++) {
    if (power % every === 0) found.push(...digits.map((digit) => Number(`${digit}e${power}`)));
  }
  return found.filter((value) => value >= first && value <= last);
}

function evenTicks(first, last, count) {
  const least = (last - first) / count;
  const power = 10 ** Math.floor(Math.log10(least));
  const distance = [1, 2, 5, 10].find((digit) => digit * power >= least * 0.999) * power;
  const found = [];
  for (let place = Math.ceil(first / distance); place * distance <= last; place++) {
    found.push(Number((place * distance).toPrecision(12)));
  }
  return found;
}
