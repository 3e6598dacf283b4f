import java.nio.file.Files;
import java.nio.file.Path;
import net.lingala.zip4j.ZipFile;
import net.lingala.zip4j.io.outputstream.ZipOutputStream;
import net.lingala.zip4j.model.ZipParameters;
import net.lingala.zip4j.model.enums.CompressionMethod;

/** zip4j. */
class Zip4j {
    public static void main(String[] args) throws Exception {
        String mode = args[0];
        if (mode.endsWith("pipe")) {
            try (ZipOutputStream zip = new ZipOutputStream(System.out)) {
                for (int i = 2; i < args.length; i++) {
                    ZipParameters parameters = parameters(mode, args[i]);
                    byte[] data = args[i].endsWith("/") ? new byte[0] : Files.readAllBytes(Path.of(args[i]));
                    if (parameters.getCompressionMethod() == CompressionMethod.STORE) parameters.setEntrySize(data.length);
                    zip.putNextEntry(parameters);
                    zip.write(data);
                    zip.closeEntry();
                }
            }
            return;
        }
        try (ZipFile zip = new ZipFile(args[1])) {
            for (int i = 2; i < args.length; i++) zip.addFile(Path.of(args[i]).toFile(), parameters(mode, args[i]));
            if (mode.equals("update")) zip.removeFile(System.getenv("DELETE"));
        }
    }

    private static ZipParameters parameters(String mode, String name) {
        ZipParameters parameters = new ZipParameters();
        parameters.setFileNameInZip(name);
        if (mode.startsWith("stored") || name.endsWith("/")) parameters.setCompressionMethod(CompressionMethod.STORE);
        return parameters;
    }
}
