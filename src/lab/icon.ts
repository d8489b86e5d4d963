/** The sign of Taskloom: threads over threads. */
import { LabIcon } from '@jupyterlab/ui-components';

const svgstr = `<svg xmlns="http://www.w3.org/2000/svg" width="16" height="16" viewBox="0 0 24 24">
  <g class="jp-icon3" fill="#616161">
    <path d="M5 3h2v18H5zM11 3h2v3.5h-2zM11 9.5h2V21h-2zM17 3h2v18h-2z"/>
    <path d="M2.5 7H4v2H2.5zM8 7h8v2H8zM20 7h1.5v2H20zM2.5 15H10v2H2.5zM14 15h2v2h-2zM20 15h1.5v2H20z"/>
  </g>
</svg>`;

export const taskloomIcon = new LabIcon({ name: 'taskloom:icon', svgstr });
