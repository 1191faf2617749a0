import { expect, it } from 'vitest';
import { routeOf } from './route.js';

it.each([
  ['', 'cluster', null],
  ['#/requests', 'requests', null],
  ['#/requests/req_1%2F2', 'requests', 'req_1/2'],
  ['#/requests/%', 'requests', null],
  ['#/nothing', 'cluster', null],
])('%j shows %s', (hash, tab, id) => {
  expect(routeOf(hash)).toEqual({ tab, id });
});
