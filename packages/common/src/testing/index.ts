export { ManualClock } from './manual-clock.js';
export { anyCurve, curveWithCliffs } from './step-times.js';
