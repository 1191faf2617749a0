/**
 * Has the only model of a server unloaded and loaded again.
 * @returns what came of it that should not
 */
export async function loadMany(url: string, count: number): Promise<readonly string[]> {
  const wrong: string[] = [];
  const listed = (await (await fetch(`${url}/models`)).json()) as {
    readonly models: readonly { readonly id: string }[];
  };
  const model = listed.models[0]?.id;
  for (let index = 0; index < count; index += 1)
    for (const what of ['unload', 'load'] as const) {
      const response = await fetch(`${url}/models/${what}`, {
        method: 'POST',
        headers: { 'content-type': 'application/json' },
        body: JSON.stringify({ model }),
      });
      const { state } = (await response.json()) as { readonly state?: string };
      if (state !== `${what}ed`) wrong.push(`${what} ${index}: ${response.status} ${state ?? ''}`);
    }
  return wrong;
}
