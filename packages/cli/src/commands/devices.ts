import { formatBytes, printableLine } from '@butterfly/common';
import { expectedVersions, listDevices, loadGgml, loadGpus, usualDevices } from '@butterfly/ggml';
import { backendsDirectory } from 'butterfly/process';
import { Command } from 'commander';
import type { Environment } from '../environment.js';
import { logFormatOption, openLog, type LogFlags } from '../log.js';
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
    .addOption(logFormatOption())
    .addHelpText('after', examples)
    .action(async ({ json, ...flags }: LogFlags & { readonly json?: boolean }) => {
      const log = await openLog(environment, flags, 'devices');
      const ggml = loadGgml({ directory: environment.BUTTERFLY_GGML_DIR, log });
      loadGpus(ggml, { backends: backendsDirectory(environment, expectedVersions.ggml), log });
      const devices = listDevices(ggml);
      if (json) {
        print(`${JSON.stringify(devices, null, 2)}\n`);
        return;
      }
      const usual = new Set(usualDevices(devices).map(({ name }) => name));
      print(
        formatTable([
          ['device', 'kind', 'memory', 'free', 'used by default', 'driver'],
          ...devices.map(({ name, kind, totalBytes, freeBytes, description }) => [
            name,
            kind,
            formatBytes(totalBytes),
            formatBytes(freeBytes),
            usual.has(name) ? 'yes' : '',
            printableLine(description),
          ]),
        ]),
      );
    });
}
