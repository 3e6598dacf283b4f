# rubyzip.
require 'zip'

mode, archive, *names = ARGV
names.map! { |name| name.dup.force_encoding('UTF-8') }
Zip.unicode_names = true

case mode
when 'stored'
  Zip::OutputStream.open(archive) do |out|
    names.each do |name|
      out.put_next_entry(name, nil, nil, Zip::Entry::STORED)
      out.write(File.binread(name)) unless name.end_with?('/')
    end
  end
when 'update'
  Zip::File.open(archive) do |zip|
    names.each { |name| zip.find_entry(name) ? zip.replace(name, name) : zip.add(name, name) }
    zip.remove(ENV['DELETE'])
  end
else
  Zip::File.open(archive, Zip::File::CREATE) do |zip|
    names.each { |name| name.end_with?('/') ? zip.mkdir(name.chomp('/')) : zip.add(name, name) }
  end
end
