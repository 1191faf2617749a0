import { formatBytes, printableLine } from '@butterfly/common';
import { listDevices, loadGgml, loadGpus, usualDevice } from '@butterfly/ggml';
import { Command } from 'commander';
import type { Environment } from '../environment.js';
import { openLog } from '../log.js';
import { formatTable } from '../table.js';
import { print } from '../terminal.js';

const examples = `
Examples:
  butterfly devices
  butterfly worker --join desk:7600 --device vulkan0`;

export function devicesCommand(environment: Environment): Command {
  return new Command('devices')
    .description('List what this machine can compute on.')
    .option('--json', 'print JSON')
    .addHelpText('after', examples)
    .action(async ({ json }: { readonly json?: boolean }) => {
      const log = await openLog(environment, {}, 'devices');
      const ggml = loadGgml({ directory: environment.BUTTERFLY_GGML_DIR, log });
      loadGpus(ggml, log);
      const devices = listDevices(ggml);
      if (json) {
        print(`${JSON.stringify(devices, null, 2)}\n`);
        return;
      }
      const usual = usualDevice(devices).name;
      print(
        formatTable([
          ['device', 'kind', 'memory', 'free', 'used by default', 'driver'],
          ...devices.map(({ name, kind, totalBytes, freeBytes, description }) => [
            name,
            kind,
            formatBytes(totalBytes),
            formatBytes(freeBytes),
            name === usual ? 'yes' : '',
            printableLine(description),
          ]),
        ]),
      );
    });
}
