// Reads QR codes where the browser cannot: of BarcodeDetector what the app uses. Loaded when somebody scans.
import start, { decode } from "./felund_scan.js";

// Enough for the largest invite that fills most of the picture; more only costs time.
const LARGEST = 900;

await start();

const canvas = document.createElement("canvas");
const context = canvas.getContext("2d", { willReadFrequently: true });

export async function detect(video) {
  const { videoWidth, videoHeight } = video;
  const scale = Math.min(1, LARGEST / Math.max(videoWidth, videoHeight));
  const [width, height] = [Math.floor(videoWidth * scale), Math.floor(videoHeight * scale)];
  // Before the first frame there is nothing to look at.
  if (!width || !height) return [];
  Object.assign(canvas, { width, height });
  context.drawImage(video, 0, 0, width, height);
  const rawValue = decode(context.getImageData(0, 0, width, height).data, width);
  return rawValue === undefined ? [] : [{ rawValue }];
}
