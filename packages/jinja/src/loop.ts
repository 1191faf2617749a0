import { Callable, LoopValue, Missing, type Value, failure, isEqual, tuple } from '@butterfly/python';

/** `loop` inside a `for`: `position` says which item is at hand. */
export function loopValue(
  items: readonly Value[],
  position: { readonly index: number },
  depth: number,
  recurse: ((items: Value) => Value) | null,
): LoopValue {
  let seen: Value | null = null;
  const changed = new Callable('changed', ({ positional }) => {
    const now = tuple(positional);
    const isChanged = seen === null || !isEqual(seen, now);
    seen = now;
    return isChanged;
  });
  const cycle = new Callable('cycle', ({ positional }) => {
    if (positional.length === 0) throw failure('TypeError: no items for cycling given');
    return positional[position.index % positional.length] ?? null;
  });
  const whole = (value: number): bigint => BigInt(value);
  return new LoopValue((name) => {
    const { index } = position;
    switch (name) {
      case 'index':
        return whole(index + 1);
      case 'index0':
        return whole(index);
      case 'revindex':
        return whole(items.length - index);
      case 'revindex0':
        return whole(items.length - index - 1);
      case 'first':
        return index === 0;
      case 'last':
        return index === items.length - 1;
      case 'length':
        return whole(items.length);
      case 'depth':
        return whole(depth + 1);
      case 'depth0':
        return whole(depth);
      case 'previtem':
        return index === 0 ? new Missing('there is no previous item') : items[index - 1];
      case 'nextitem':
        return index + 1 < items.length ? items[index + 1] : new Missing('there is no next item');
      case 'cycle':
        return cycle;
      case 'changed':
        return changed;
      default:
        return undefined;
    }
  }, recurse);
}
