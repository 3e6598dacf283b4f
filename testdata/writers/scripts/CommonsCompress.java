import java.io.File;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.zip.CRC32;
import org.apache.commons.compress.archivers.zip.Zip64Mode;
import org.apache.commons.compress.archivers.zip.ZipArchiveEntry;
import org.apache.commons.compress.archivers.zip.ZipArchiveOutputStream;

/** Apache Commons Compress. */
class CommonsCompress {
    public static void main(String[] args) throws Exception {
        String mode = args[0];
        try (ZipArchiveOutputStream zip = mode.endsWith("pipe")
                ? new ZipArchiveOutputStream(System.out) : new ZipArchiveOutputStream(new File(args[1]))) {
            if (mode.startsWith("zip64")) zip.setUseZip64(Zip64Mode.Always);
            for (int i = 2; i < args.length; i++) {
                Path path = Path.of(args[i]);
                ZipArchiveEntry entry = new ZipArchiveEntry(path.toFile(), args[i]);
                byte[] data = args[i].endsWith("/") ? new byte[0] : Files.readAllBytes(path);
                if (mode.startsWith("stored")) {
                    CRC32 crc = new CRC32();
                    crc.update(data);
                    entry.setMethod(ZipArchiveEntry.STORED);
                    entry.setSize(data.length);
                    entry.setCrc(crc.getValue());
                }
                zip.putArchiveEntry(entry);
                zip.write(data);
                zip.closeArchiveEntry();
            }
        }
    }
}
