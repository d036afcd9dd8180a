// All scripts, in one process: they share the browser.

import { after } from "node:test";

import { close } from "./support.js";
import "./pages.js";
import "./acting.js";
import "./changing.js";
import "./guarded.js";

after(close);
