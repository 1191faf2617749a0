/**
 * What is to be compared, turn by turn, so that what the machine does meanwhile meets all of it; who begins changes from
 * round to round. Gives what came of each round, in the order of the rounds.
 * @param rounds numbered from 0
 */
export async function takeTurns<K extends string, T>(
  rounds: number,
  sides: Readonly<Record<K, (round: number) => Promise<T>>>,
): Promise<Record<K, T[]>> {
  const names = Object.keys(sides) as K[];
  const results = Object.fromEntries(names.map((name) => [name, [] as T[]])) as Record<K, T[]>;
  for (let round = 0; round < rounds; round++)
    for (const name of round % 2 === 0 ? names : names.toReversed())
      results[name].push(await sides[name](round));
  return results;
}
