import java.io.FileOutputStream;
import java.io.OutputStream;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.zip.CRC32;
import java.util.zip.ZipEntry;
import java.util.zip.ZipOutputStream;

/** The JDK's ZipOutputStream. */
class ZipStreams {
    public static void main(String[] args) throws Exception {
        String mode = args[0];
        OutputStream out = mode.endsWith("pipe") ? System.out : new FileOutputStream(args[1]);
        try (ZipOutputStream zip = new ZipOutputStream(out)) {
            for (int i = 2; i < args.length; i++) {
                boolean folder = args[i].endsWith("/");
                byte[] data = folder ? new byte[0] : Files.readAllBytes(Path.of(args[i]));
                ZipEntry entry = new ZipEntry(args[i]);
                if (mode.startsWith("stored")) {
                    CRC32 crc = new CRC32();
                    crc.update(data);
                    entry.setMethod(ZipEntry.STORED);
                    entry.setSize(data.length);
                    entry.setCrc(crc.getValue());
                }
                zip.putNextEntry(entry);
                zip.write(data);
                zip.closeEntry();
            }
        }
    }
}
